from django.urls import path

from longboard.registry import views

urlpatterns = [
    path("models/", views.models, name="models"),
    path("models/register/", views.register_model, name="register-model"),
    path("models/<slug:slug>/", views.model, name="model"),
    path("methods/", views.methods, name="methods"),
    path("methods/<slug:slug>/", views.method, name="method"),
    path("suites/", views.suites, name="suites"),
    path("suites/<str:name>/", views.suite, name="suite"),
]
